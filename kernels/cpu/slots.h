#pragma once

namespace agon::cpu {

/// Who uses which slot of a thread's scratch memory in the element-wise operations.
enum Slot : int { kStripSlot = 16, kParameterSlot, kMixSlot, kPairSlot };

}  // namespace agon::cpu
