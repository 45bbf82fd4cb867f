"""Memory controllers: one channel of HBM or DDR each."""
