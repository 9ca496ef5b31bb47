"""Answers: metrics, tables and pictures from results, and the demo."""
