"""What a run on disk holds, by name: tables, arrays and the files beside them."""

TABLES = (
    "train",
    "step_layers",
    "step_kv_heads",
    "step_query_heads",
    "probe_kv_heads",
    "probe_query_heads",
    "probe_sinks",
    "probe_induction",
    "probe_loss",
    # of the trained model, which is not recorded itself
    "capacity",
    "ablation",
    "shuffled_query_heads",
    "key_energy",
    "head_content",
)
ARRAYS = ("gain", "energy", "patterns")
PROBE, WEIGHTS = "probe.json", "weights.safetensors"
