"""The widget that places the section of a slide in a volume: live sliders, landmarks, search, and the pair."""
