"""What people look at: run folders, tracked runs, progress, tables and pictures."""
