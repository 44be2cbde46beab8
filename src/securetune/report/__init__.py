"""Report: what the artifacts of a run say, as tables, figures and one HTML file. Knows no model."""
