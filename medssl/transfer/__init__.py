"""From a pretrained encoder and a few labels to a classifier or a segmenter."""
