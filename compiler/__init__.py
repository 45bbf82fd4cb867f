"""From graphs to kernels. Imports no simulator."""
