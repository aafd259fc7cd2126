"""What the tools at a desk share: a probe and its rewritten form, why a verdict is so, reports."""
