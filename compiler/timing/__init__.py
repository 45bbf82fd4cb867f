"""How long a kernel takes and which unit has the most to do: predicted, and as the counters say."""
