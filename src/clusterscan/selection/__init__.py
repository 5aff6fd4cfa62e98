"""The selection function: detections of injected clusters, and on skies without clusters."""
