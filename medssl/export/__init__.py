"""What other programs take: weights and plans in their own formats."""
