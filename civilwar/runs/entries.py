"""What the JSON files of a run say, entry by entry: its manifest, and the description of its probe texts."""

#: Entries of ``manifest.json``. A run that is still training, or was recorded by an earlier version, has only some.
MANIFEST_ENTRIES: dict[str, str] = {
    "status": "Running, diverged or complete.",
    "config": "The whole configuration: preset, variant, seed, corpus, model, training and probe.",
    "config_hash": "Hash of the configuration, which names the run's content: the same hash, the same run.",
    "seed": "Decides initial weights and the order of the training text.",
    "commit": "Commit of the code that trained it; null outside a git checkout.",
    "dirty": "Whether that code differed from the commit.",
    "rules": "Hash of the rules, estimators and plan in force when training began; null where no registration was at hand.",
    "versions": "Versions of Python and of the packages that compute or write.",
    "corpus": "Where the text came from, how much of it there was, in bytes, documents and tokens, and its checksum.",
    "device": "The hardware, by kind and name, and how many threads computed on a CPU.",
    "ways": "How it was computed: whether compiled, by which kernels, and why; the same numbers but for rounding.",
    "dtype_policy": "Number formats of parameters, of matrix products and of what was measured.",
    "n_parameters": "How many numbers were trained.",
    "started": "When training began, in UTC.",
    "sittings": "The processes that trained it, in time order: first step, start, commit, versions, device and ways of each.",
    "resumed_at": "Steps at which an interrupted training was taken up again.",
    "finished": "When the last experiment was done, in UTC.",
    "timings": "Seconds in all, of snapshots and of the experiments at the end, and training tokens per second.",
    "files": "SHA-256 of every other file of the run.",
    "weights": "Of a series: the SHA-256 of every checkpoint's weights, by step.",
    "left_out": "What this recording lacks: by table or array, which steps or columns.",
    "manifest_sha256": "SHA-256 of all entries above, so that a manifest vouches for itself.",
}
#: Entries of ``probe.json``.
PROBE_ENTRIES: dict[str, str] = {
    "texts": "The held-out texts of the snapshots: their tokens as strings, and which of them are separators.",
    "short_texts": "The same of the two short texts whose attention patterns are kept whole.",
    "uniform_attention": "What uniform causal attention scores on these texts, by measure; of separators, text by text.",
}
