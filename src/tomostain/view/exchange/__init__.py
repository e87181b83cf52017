"""Models for other software: ONNX files, and packages of the BioImage Model Zoo."""
