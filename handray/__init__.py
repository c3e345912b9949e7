"""handray trains, tunes and ensembles segmentation models of hand radiographs on Ray."""
