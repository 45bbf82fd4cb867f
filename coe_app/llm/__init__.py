"""The language Composition of Experts: byte-level decoders behind a router, decoding on the device."""
