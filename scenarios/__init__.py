"""Stories with an expected ending: scenarios, regression, sizing, emulation."""
