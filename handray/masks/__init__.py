"""The two exact forms of one label: bits of a pixel (planes) and runs of pixels (rle)."""
