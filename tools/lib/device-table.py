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
print("\n".join("    " + line for line in lines("info.txt")[:8]) + "\n")

steps = [line.split() for line in lines("steps.txt")]
if steps:
    table(["step", "outcome", "seconds"], steps)

peers = {}
for line in lines("pytorch.jsonl"):
    row = json.loads(line)
    peers.setdefault(row["net"], {})[row["how"]] = 1e6 / row["iters_per_s"]

rows = []
for line in lines("iterations.jsonl"):
    row = json.loads(line)
    net = row["name"].split()[0]
    modes = peers.get(net, {}) if "N=" not in row["name"] else {}
    ours = row["microseconds"]
    eager = f"{modes['eager'] / ours:.1f} x" if "eager" in modes else "-"
    best = min(modes, key=modes.get) if modes else None
    rows.append([row["name"], row["workers"], row["batch"], f"{ours:.1f}", f"{row['microseconds_queueing']:.1f}", eager,
                 f"{modes[best] / ours:.1f} x ({best})" if best else "-"])
if rows:
    print("Whole iterations, k = 2 where N = 10:\n")
    table(["what", "N", "b", "us an iteration", "host's share, us", "against PyTorch eager", "against its best mode"], rows)
if peers:
    table(["PyTorch, us an iteration", "eager", "fused", "graph", "vmap", "vmap-graph"],
          [[net] + [f"{modes[m]:.0f}" if m in modes else "did not run" for m in ("eager", "fused", "graph", "vmap", "vmap-graph")]
           for net, modes in peers.items()])

bench = os.path.join(folder, "bench.json")
if os.path.exists(bench):
    with open(bench, encoding="utf-8") as file:
        found = json.load(file)
    for key, value in found["context"].items():
        if "roofline" in key:
            print(f"{key}: {value}\n")
    chosen = ("adam/", "clip/", "copy/", "mix/", "bias + ")
    table(["row", "us", "GB/s", "GFLOP/s", "% of the roofline"],
          [[b["name"].rsplit("/real_time", 1)[0], f"{b['real_time']:.1f}", f"{b.get('GB/s', 0):.0f}", f"{b.get('GFLOP/s', 0):.0f}",
            f"{b.get('roofline%', 0):.0f}"] for b in found["benchmarks"] if b["name"].startswith(chosen) and "error_occurred" not in b])

for line in lines("train.json")[-1:]:
    summary = json.loads(line)
    print(f"`agon train md-gan-mnist-mlp`: {summary['iterations']} iterations in {summary['seconds_training']:.1f} s of training, "
          f"scores {json.dumps(summary.get('scores', {}))}")
