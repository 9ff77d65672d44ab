"""Looking inside a Vision Transformer: maps, filters, positions, distances, rollout, maps of one class, tokens, and how
maps score."""

from vitedu.capture import capture_attention, capture_tokens
from vitedu.inspection.components import components_to_pictures, token_components
from vitedu.inspection.distance import attention_distance, patch_distances, uniform_distance
from vitedu.inspection.filters import embedding_filters, filters_to_pictures, smoothness
from vitedu.inspection.localise import baselines, bootstrap_interval, coverage, localise, relevance_maps
from vitedu.inspection.positions import line_score, patch_positions, position_similarity, wave_share
from vitedu.inspection.probe import linear_probe, nearest_neighbours, outlier_share, token_norms
from vitedu.inspection.relevance import class_relevance
from vitedu.inspection.rollout import discard_lowest, fuse_heads, relevance, rollout
from vitedu.inspection.viewer import AttentionMaps, explore, overlay

__all__ = [
    "AttentionMaps",
    "attention_distance",
    "baselines",
    "bootstrap_interval",
    "capture_attention",
    "capture_tokens",
    "class_relevance",
    "components_to_pictures",
    "coverage",
    "discard_lowest",
    "embedding_filters",
    "explore",
    "filters_to_pictures",
    "fuse_heads",
    "line_score",
    "linear_probe",
    "localise",
    "nearest_neighbours",
    "outlier_share",
    "overlay",
    "patch_distances",
    "patch_positions",
    "position_similarity",
    "relevance",
    "relevance_maps",
    "rollout",
    "smoothness",
    "token_components",
    "token_norms",
    "uniform_distance",
    "wave_share",
]
