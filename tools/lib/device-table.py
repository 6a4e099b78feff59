#!/usr/bin/env python3
"""Puts what tools/device-check measured into one page of Markdown: device-table.py FOLDER GPU."""
import json
import os
import sys

folder, gpu = sys.argv[1], sys.argv[2]


def lines(name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file if line.strip()]


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


print(f"# {gpu}\n\nBy `tools/device-check`. Versions:\n")
print("\n".join("    " + line for line in lines("versions.txt") + lines("info.txt")[:8]) + "\n")

steps = [line.split() for line in lines("steps.txt")]
if steps:
    table(["step", "outcome", "seconds"], steps)

peers = {}
for line in lines("pytorch.jsonl"):
    row = json.loads(line)
    peers.setdefault(row["net"], {})[row["how"]] = 1e6 / row["iters_per_s"]



def against(row):
    """Cells of an iteration beside its roofline, and of its memory beside the plan's, in MiB."""
    roofline, memory = row["roofline"], row["memory"]
    return [f"{roofline['microseconds']:.1f}", f"{roofline['times']:.2f}", f"{memory['bytes'] / 2**20:.0f}",
            f"{memory['planned'] / 2**20:.0f}"]


AGAINST = ["roofline, us", "times of it", "memory, MiB", "planned, MiB"]
rows, sizes = [], {}
for line in lines("iterations.jsonl"):
    row = json.loads(line)
    net, what = row["name"].split()
    ours, host = row["microseconds"], f"{row['microseconds_queueing']:.1f}"
    if what.startswith("N="):
        sizes[int(what[2:])] = (row["batch"], ours, host, against(row))
        continue
    modes = peers.get(net, {}) if what == "fp32" else {}  # the peer computes in fp32
    best = min(modes, key=modes.get) if modes else None
    rows.append([row["name"], row["workers"], row["batch"], f"{ours:.1f}", host, *against(row),
                 f"{modes['eager'] / ours:.1f} x" if "eager" in modes else "-",
                 f"{modes[best] / ours:.1f} x ({best})" if best else "-"])
if rows:
    print("Whole iterations, k = 2; the PyTorch peer computes in fp32, so only that is compared:\n")
    table(["what", "N", "b", "us an iteration", "host's share, us", *AGAINST, "against PyTorch eager",
           "against its best mode"], rows)
if sizes:
    print("MNIST MLP in fp32 by the number of workers, k = 1:\n")
    rows = [[n, batch, f"{ours:.1f}", host, *cells] for n, (batch, ours, host, cells) in sorted(sizes.items())]
    if 10 in sizes and 100 in sizes:
        rows.append(["100 / 10", "", f"{sizes[100][1] / sizes[10][1]:.2f} x", "", "", "", "", ""])
    table(["N", "b", "us an iteration", "host's share, us", *AGAINST], rows)
if rows:
    print("A roofline is the larger of bytes / copy bandwidth + launch of a graph, and FLOPs / rate of square products, all "
          "measured. Bytes are\nthose of the optimiser's steps (Adam: 28 a parameter) and of the weights, once for each pass "
          "forwards and once backwards. Memory is what\nagon took from the driver, work space and cuBLAS's 32 MiB included; "
          "`agon plan` counts weights, gradients, moments, activations and data. The goals: 2 times the roofline at most for the MNIST "
          "MLP in\nfp32, and memory as planned.\n")
if peers:
    table(["PyTorch, us an iteration", "eager", "fused", "graph", "vmap", "vmap-graph"],
          [[net] + [f"{modes[m]:.0f}" if m in modes else "did not run" for m in ("eager", "fused", "graph", "vmap", "vmap-graph")]
           for net, modes in peers.items()])

bench = os.path.join(folder, "bench.json")
if os.path.exists(bench):
    with open(bench, encoding="utf-8") as file:
        text = file.read().strip()
    try:
        found = json.loads(text)
    except ValueError:  # it was ended early: the rows so far
        whole = text.rfind("    },\n")
        found = json.loads(text[:whole] + "    }]}") if whole > 0 else {"context": {}, "benchmarks": []}
        print("agon-bench did not end; these are the rows it came to.\n")
    for key, value in found["context"].items():
        if "roofline" in key:
            print(f"{key}: {value}\n")
    chosen = ("adam/", "clip/", "copy/", "mix/", "bias + ")
    table(["row", "us", "GB/s", "GFLOP/s", "% of the roofline"],
          [[b["name"].rsplit("/real_time", 1)[0], f"{b['real_time']:.1f}", f"{b.get('GB/s', 0):.0f}", f"{b.get('GFLOP/s', 0):.0f}",
            f"{b.get('roofline%', 0):.0f}"] for b in found["benchmarks"] if b["name"].startswith(chosen) and "error_occurred" not in b])

for line in lines("train.json")[-1:]:
    summary = json.loads(line)
    print(f"`agon train md-gan-mnist-mlp`: {summary['iterations']} iterations in {summary['seconds_training']:.1f} s of training "
          f"and {summary['seconds_evaluating']:.1f} s of scoring, scores {json.dumps(summary.get('scores', {}))}")

commands = list(dict.fromkeys(lines("commands.txt")))
if commands:
    print("\nCommands, in the root of the repository:\n")
    print("\n".join("    " + line for line in commands))
