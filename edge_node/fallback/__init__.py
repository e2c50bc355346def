"""Deferred samples are answered somewhere else, or not: either way each ends as one outcome, in time."""

from edge_node.fallback.cloud import CloudFallback
from edge_node.fallback.deferral import Budget, Deferral, Done, Fallback, NoFallback, Outcome

__all__ = ["Budget", "CloudFallback", "Deferral", "Done", "Fallback", "NoFallback", "Outcome"]
