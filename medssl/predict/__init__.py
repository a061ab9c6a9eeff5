"""A fine-tuned model applied to new scans: masks, classes and volumes on the scans' own grids."""
