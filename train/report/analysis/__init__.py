"""The numbers of a report: results, comparisons, bounds, verdict, cost."""
