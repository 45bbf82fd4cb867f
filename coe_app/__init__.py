"""The digits Composition of Experts: data, training, serving and reports."""
