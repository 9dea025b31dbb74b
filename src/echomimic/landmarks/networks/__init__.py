"""The TFLite networks of the mediapipe 0.10.21 wheel, run by ai-edge-litert: faces, hands, bodies and the person mask.

`files` finds the network files, `runtime` runs one, `regions` cuts and maps rotated regions of interest, `detection`
holds the single-shot detectors, `face_mesh`, `hands` and `body` the landmarks and their tracking, `selfie` the mask.
Anchors, thresholds, regions and filters are those of mediapipe's published graphs, so that results agree with it.
"""
