"""The label-efficiency study: plan, subsets, grid, statistics, curve."""
