"""The fields of C3D 1.1's VideoDataParameter, a message that SSD has too. Holds no layer type."""

from __future__ import annotations

from typing import Annotated


class LaterClipParameter:
    """There the numbers are less by 1000; some of these are SSD's."""

    source: Annotated[str, 1001]
    batch_size: Annotated[int, 1004] = 1
    rand_skip: Annotated[int, 1007] = 0
    shuffle: Annotated[bool, 1008] = False
    new_height: Annotated[int, 1009] = 0
    new_width: Annotated[int, 1010] = 0
    is_color: Annotated[bool, 1011] = True
    root_folder: Annotated[str, 1012] = ""
    new_length: Annotated[int, 1013]
    show_data: Annotated[bool, 1014] = False
    use_image: Annotated[bool, 1015] = False
    use_temporal_jitter: Annotated[bool, 1016] = False
    sampling_rate: Annotated[int, 1017] = 1
    max_sampling_rate: Annotated[int, 1018] = 1
    use_sampling_rate_jitter: Annotated[bool, 1019] = False
    use_multiple_label: Annotated[bool, 1020] = False
    num_of_labels: Annotated[int, 1021] = 1
