"""Files to batches: folders of radiographs, folds, sample order, decoding, augmentation."""
