"""The task with this project."""

import sys

from scipy.stats import loguniform

from models import load_model, read_table
from search import RandomSampler, Search

if __name__ == "__main__":
    if sys.argv[1:] == ["predict"]:
        print(load_model("model.safetensors").predict_interval("new.csv", coverage=0.9))
    else:
        table = read_table("train.csv", target="price")
        sampler = RandomSampler(20, hidden=[(16,), (32, 16)], lr=loguniform(1e-3, 3e-2), epochs=[60])
        result = Search(table.builder(), sampler, store="search.sqlite").run(table)
        print(result.ranking)
        result.best.save("model.safetensors")
