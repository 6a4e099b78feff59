#!/usr/bin/env python3
"""What a researcher would write today: Lipizzaner (Schmiedlechner et al. 2018) in PyTorch, all cells of the grid in one
process, one after the other. The measured peer of agon's `lipizzaner`, with the same networks (Table 1), the same games
for fitness, the same steps; mixtures are left out. Prints one JSON line: seconds per epoch of the whole grid.
"""
import argparse
import copy
import gzip
import json
import os
import random
import time

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=4)
parser.add_argument("--columns", type=int, default=4)
parser.add_argument("--batch", type=int, default=100)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--share", type=float, default=1.0, help="of the data, for each cell")
parser.add_argument("--fitness-batches", type=int, default=10)
parser.add_argument("--skip", type=int, default=1)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--data", help="folder with the MNIST .gz files; noise without")
options = parser.parse_args()
if options.threads:
    torch.set_num_threads(options.threads)
Z, B, RATE = 64, options.batch, 2e-4


def leaky(*sizes):
    layers = []
    for i, o in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(i, o), nn.LeakyReLU(0.2)]
    return layers + [nn.Linear(sizes[-2], sizes[-1])]


class Player:
    """A network with its optimiser and learning rate: what moves between cells."""

    def __init__(self, network):
        self.network, self.rate = network, RATE
        self.optimiser = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.5, 0.999))

    def clone(self):
        other = Player(copy.deepcopy(self.network))
        other.optimiser.load_state_dict(copy.deepcopy(self.optimiser.state_dict()))
        other.rate = self.rate
        return other

    def mutate(self):
        if random.random() < 0.5:
            self.rate = max(0.0, self.rate + 1e-4 * random.gauss(-RATE / 10, RATE))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate


def bce(logits, real):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def noise():
    return torch.randn(B, Z)


def game(G, D):
    with torch.no_grad():
        logits = D.network(G.network(noise()))
        return bce(logits, 1).item(), bce(logits, 0).item()


def games(G, D):
    pairs = [game(G, D) for _ in range(options.fitness_batches)]
    return [sum(p[i] for p in pairs) / len(pairs) for i in (0, 1)]


def on_real(D, sample):
    with torch.no_grad():
        return sum(bce(D.network(x), 1).item() for x in sample) / len(sample)


def epoch(Gs, Ds, data):
    """One epoch of a cell whose own pair comes first; returns the pair it holds afterwards."""
    sample = [data[torch.randint(len(data), (B,))] for _ in range(options.fitness_batches)]
    table = [[games(G, D) for D in Ds] for G in Gs]
    fit_G = [sum(g for g, _ in row) / len(Ds) for row in table]
    fit_D = [sum(row[j][1] for row in table) / len(Gs) + on_real(D, sample) for j, D in enumerate(Ds)]
    picked_G = min(random.sample(range(len(Gs)), min(2, len(Gs))), key=fit_G.__getitem__)
    picked_D = min(random.sample(range(len(Ds)), min(2, len(Ds))), key=fit_D.__getitem__)
    G, D = Gs[picked_G].clone(), Ds[picked_D].clone()
    rivals_G = [G if i == picked_G else other for i, other in enumerate(Gs)]
    rivals_D = [D if i == picked_D else other for i, other in enumerate(Ds)]
    order = torch.randperm(len(data))
    for t in range(len(data) // B):
        G.mutate()
        rival = random.choice(rivals_D).network
        for weight in rival.parameters():
            weight.requires_grad_(False)
        G.optimiser.zero_grad(set_to_none=True)
        bce(rival(G.network(noise())), 1).backward()
        G.optimiser.step()
        for weight in rival.parameters():
            weight.requires_grad_(True)
        if t % (options.skip + 1):
            continue
        D.mutate()
        with torch.no_grad():
            fake = random.choice(rivals_G).network(noise())
        logits = D.network(torch.cat([data[order[t * B:(t + 1) * B]], fake]))
        D.optimiser.zero_grad(set_to_none=True)
        (bce(logits[:B], 1) + bce(logits[B:], 0)).backward()
        D.optimiser.step()
    after_G = sum(games(G, other)[0] for other in Ds) / len(Ds)
    after_D = sum(games(other, D)[1] for other in Gs) / len(Gs) + on_real(D, sample)
    return G if after_G < fit_G[0] else Gs[0], D if after_D < fit_D[0] else Ds[0]


def main():
    torch.manual_seed(1)
    random.seed(1)
    if options.data:
        with gzip.open(os.path.join(options.data, "train-images-idx3-ubyte.gz")) as file:
            pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 784)
        data = torch.from_numpy(pixels.astype(numpy.float32) / 127.5 - 1)
    else:
        data = torch.rand(60000, 784) * 2 - 1
    R, C = options.rows, options.columns
    cells = R * C
    own = [data[torch.randperm(len(data))[:round(options.share * len(data))]] if options.share < 1 else data
           for _ in range(cells)]
    G = [Player(nn.Sequential(*leaky(Z, 256, 256, 784), nn.Tanh())) for _ in range(cells)]
    D = [Player(nn.Sequential(*leaky(784, 256, 256, 1))) for _ in range(cells)]
    start = time.perf_counter()
    for _ in range(options.epochs):
        now_G, now_D = [], []
        for cell in range(cells):
            r, c = divmod(cell, C)
            near = [cell, (r - 1) % R * C + c, (r + 1) % R * C + c, r * C + (c - 1) % C, r * C + (c + 1) % C]
            near = list(dict.fromkeys(near))
            new_G, new_D = epoch([G[i].clone() for i in near], [D[i].clone() for i in near], own[cell])
            now_G.append(new_G)
            now_D.append(new_D)
        G, D = now_G, now_D
    seconds = (time.perf_counter() - start) / options.epochs
    print(json.dumps({"peer": "pytorch-" + torch.__version__, "rows": R, "columns": C, "share": options.share,
                      "threads": torch.get_num_threads(), "seconds_per_epoch": round(seconds, 3),
                      "epochs_per_s": 1 / seconds}))


if __name__ == "__main__":
    main()
