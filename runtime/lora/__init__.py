"""LoRA adapters: read, checked against the model, kept under names. numpy only."""
