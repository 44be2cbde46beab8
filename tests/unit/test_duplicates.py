"""Near-duplicates: the clusters of comparing every pair, without comparing every pair."""

import random
import tracemalloc
from itertools import combinations

import networkx
import pytest

from securetune.measures import duplicates
from securetune.measures.duplicates import near_duplicates


def test_near_duplicates_share_a_cluster_also_through_others():
    texts = [
        "write a guide to pick a lock",
        "write a guide to pick a door",
        "sing a song",
        "write a plan to pick a door",
    ]
    assert near_duplicates(texts) == [0, 0, 1, 0]


def of_every_pair(texts):
    words = [set(text.lower().split()) for text in texts]
    graph = networkx.empty_graph(len(texts))
    for i, j in combinations(range(len(texts)), 2):
        if words[i] | words[j] and len(words[i] & words[j]) / len(words[i] | words[j]) >= 0.6:
            graph.add_edge(i, j)
    return sorted(map(sorted, networkx.connected_components(graph)))


@pytest.mark.parametrize("vocabulary", [4, 8, 20, 60])
def test_the_clusters_are_those_of_comparing_every_pair(vocabulary):
    for seed in range(60):
        rng = random.Random(seed)
        common = [" ".join(str(rng.randrange(vocabulary)) for _ in range(rng.randrange(6))) for _ in range(3)]
        texts = [
            f"{rng.choice(common)} " + " ".join(str(rng.randrange(vocabulary)) for _ in range(rng.randrange(8)))
            for _ in range(40)
        ]
        numbers = near_duplicates(texts)
        clusters = [[i for i in range(len(texts)) if numbers[i] == number] for number in range(max(numbers) + 1)]
        assert clusters == of_every_pair(texts)  # in the order of their first texts


@pytest.mark.parametrize(("template", "own"), [(20, 2), (14, 6), (2, 18)], ids=["copies", "nearly copies", "apart"])
def test_comparisons_grow_with_the_texts_not_with_the_pairs(template, own, monkeypatch):
    compared = []
    enough = duplicates._enough
    monkeypatch.setattr(duplicates, "_enough", lambda *numbers: compared.append(numbers) or enough(*numbers))
    rng = random.Random(0)
    shared = " ".join(f"t{i}" for i in range(template))
    near_duplicates([f"{shared} " + " ".join(f"w{rng.randrange(5000)}" for _ in range(own)) for _ in range(3000)])
    assert len(compared) < 100 * 3000


@pytest.mark.parametrize(("texts", "numbers"), [([], []), ([""], [0]), (["", "a", "", "A"], [0, 1, 2, 1])])
def test_a_text_without_words_is_like_no_other(texts, numbers):
    assert near_duplicates(texts) == numbers


def test_a_text_takes_little_memory():
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(3000)}" for _ in range(14)) for _ in range(5000)]
    tracemalloc.start()
    near_duplicates(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 900 * len(texts), "a Python object for each word of a text, or each entry of the index"
