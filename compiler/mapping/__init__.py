"""From core operators to units and streams: sections, tiling, memory."""
