"""Pictures of a run: pure functions from numbers to Plotly figures, one idea a file, without torch."""
