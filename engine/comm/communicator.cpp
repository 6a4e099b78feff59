#include "engine/comm/communicator.h"

namespace agon {

int64_t Communicator::from_first(int64_t value) {
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  if (rank() != 0)
    in.push_back({0, &value, sizeof(value)});
  else
    for (int to = 1; to < size(); ++to)
      if (present(to)) out.push_back({to, &value, sizeof(value)});
  if (size() > 1) exchange(out, in);
  return value;
}

bool Communicator::any(bool flag) {
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  const char mine = flag ? 1 : 0;
  std::vector<char> theirs(static_cast<size_t>(size()));
  if (rank() != 0)
    out.push_back({0, &mine, 1});
  else
    for (int from = 1; from < size(); ++from)
      if (present(from)) in.push_back({from, &theirs[static_cast<size_t>(from)], 1});
  if (size() > 1) exchange(out, in);
  for (char other : theirs) flag = flag || other != 0;
  return from_first(flag ? 1 : 0) != 0;
}

}  // namespace agon
