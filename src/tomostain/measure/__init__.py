"""From labels of tissue, or the images they follow from, to the measures of an implant study."""
