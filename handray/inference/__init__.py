"""From logits to runs, from runs to the competition's CSV, from many CSVs to one."""
