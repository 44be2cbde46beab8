"""Plans: which parameters learn how fast, here and in other trainers."""
