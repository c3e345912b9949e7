"""What a data folder's films and labels look like, and which of them stand out."""
