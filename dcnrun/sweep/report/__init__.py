"""The report of a sweep: report.json, report.md and figures in its folder."""
