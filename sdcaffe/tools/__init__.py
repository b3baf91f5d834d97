"""What Caffe's tools do: score, time, summarise, draw and describe nets."""
