"""What is told of nets and runs: scores, times, costs, layer types, curves and diagrams. Changes none of them."""
