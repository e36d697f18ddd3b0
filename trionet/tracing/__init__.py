"""Spans of calls, in OpenTelemetry's form."""
