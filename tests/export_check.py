#!/usr/bin/env python3
"""Opens exported generators in PyTorch: export_check.py FOLDER..., each with generator.safetensors and
expected.safetensors (noise z, class labels, and what agon made of them, y). Exit code 77: no Python with PyTorch here.

`module` is also how to use an exported generator: an nn.Sequential of the layers that the file names.
"""
import json
import os
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import interpreter  # noqa: E402

if interpreter.with_modules("torch", "numpy", "safetensors"):
    interpreter.require("torch", "numpy", "safetensors")
elif interpreter.with_modules("torch", "numpy"):
    interpreter.require("torch", "numpy")
else:
    print("no Python here has torch and numpy")
    sys.exit(77)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

try:
    from safetensors import safe_open
except ImportError:
    safe_open = None  # not packaged in Debian 12


def read(path):
    """{name: array} and the metadata of a safetensors file, by the safetensors package where there is one."""
    if safe_open is not None:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        payload = file.read()
    metadata = header.pop("__metadata__")
    types = {"F32": np.float32, "I32": np.int32}
    return {name: np.frombuffer(payload[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}, metadata


class Reshape(nn.Module):
    def __init__(self, channels, height, width):
        super().__init__()
        self.shape = (channels, height, width)

    def forward(self, x):
        return x.view(-1, *self.shape)


def layer(spec, shape):
    """The module for one entry of the layer list; `shape` is that of a sample before it."""
    if isinstance(spec, str):
        kind, *numbers = spec.split()
        spec = {"layer": kind, **dict(zip({"dense": ["units"]}.get(kind, ["slope"]), map(float, numbers)))}
    kind = spec["layer"]
    get = lambda key, otherwise=None: int(spec.get(key, otherwise))  # noqa: E731
    bias = bool(spec.get("bias", 1))
    if kind == "dense":
        return nn.Linear(shape[0], get("units"), bias=bias)
    if kind == "conv2d":
        return nn.Conv2d(shape[0], get("filters"), get("kernel"), get("stride", 1), get("pad", 0), bias=bias)
    if kind == "conv_transpose2d":
        return nn.ConvTranspose2d(shape[0], get("filters"), get("kernel"), get("stride", 1), get("pad", 0),
                                  get("output_pad", 0), bias=bias)
    if kind == "batch_norm":
        return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0], eps=spec.get("epsilon", 1e-5))
    if kind == "reshape":
        return Reshape(get("channels"), get("height"), get("width"))
    simple = {
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "flatten": nn.Flatten,
        "leaky_relu": lambda: nn.LeakyReLU(spec.get("slope", 0.2)),
        "elu": lambda: nn.ELU(spec.get("slope", 1.0)),
        "upsample": lambda: nn.Upsample(scale_factor=get("factor", 2)),
    }
    return simple[kind]()


def module(arrays, metadata):
    """The generator as an nn.Sequential in evaluation mode, and its class embedding (None if unconditional)."""
    layers = [spec for spec in json.loads(metadata["layers"]) if not (isinstance(spec, dict) and spec["layer"] == "class_embedding")]
    net, x = nn.Sequential(), torch.zeros(2, int(metadata["latent"]))
    for index, spec in enumerate(layers):
        net.add_module(str(index), layer(spec, x.shape[1:]))
        net.eval()
        x = net[index](x)
    state = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    embedding = state.pop("embedding.weight", None)
    missing, unexpected = net.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]  # agon does not count batches
    assert not missing and not unexpected, f"missing {missing}, unexpected {unexpected}"
    return net, embedding


def check(folder):
    """Whether PyTorch makes the expected samples of the expected noise."""
    net, embedding = module(*read(os.path.join(folder, "generator.safetensors")))
    expected, _ = read(os.path.join(folder, "expected.safetensors"))
    z = torch.from_numpy(np.array(expected["z"]))
    if embedding is not None:
        z = z * embedding[torch.from_numpy(np.array(expected["labels"])).long()]
    with torch.no_grad():
        y = net(z).numpy()
    if y.ndim == 4:
        y = y.transpose(0, 2, 3, 1)  # agon keeps channels last in memory
    wanted = expected["y"].reshape(y.shape)
    assert wanted.std(axis=0).mean() > 1e-3, "the expected samples do not depend on the noise"
    error = np.abs(y - wanted).max()
    print(f"{os.path.basename(folder)}: read by {'the safetensors package' if safe_open else 'hand'}, "
          f"largest difference {error:.1e}")
    return error < 1e-5  # false for NaN


if __name__ == "__main__":
    sys.exit(0 if all([check(folder) for folder in sys.argv[1:]]) else 1)
