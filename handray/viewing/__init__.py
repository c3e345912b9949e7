"""What the viewer shows, computed without knowing how it is shown; widgets are in page.py."""
