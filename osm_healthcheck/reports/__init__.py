"""What the prober's commands print: text as kubectl has it, JSON, and a live table."""
