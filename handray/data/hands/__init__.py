"""How a made-up hand is built, from measured anatomy, and exposed on film."""
