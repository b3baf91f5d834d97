"""Nets and solvers of every age, brought to the current form as Caffe's upgrade tools do it."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from sdcaffe import proto
from sdcaffe.errors import PrototxtError

FILES = Path(__file__).parents[1] / "goldens" / "files"


def net(text):
    return text_format.Parse(text, proto.NetParameter())


def upgraded(text):
    return proto.upgrade_net(net(text), "x.prototxt")


@pytest.mark.parametrize("name", ["v0", "v1"])
def test_nets_become_what_caffes_tool_made_of_them(name, caplog):
    assert proto.format(proto.read_net(FILES / f"{name}.prototxt")) == (FILES / f"{name}_upgraded.prototxt").read_text()
    assert not caplog.records


def test_solver_becomes_what_caffes_tool_made_of_it():
    solver = proto.read_solver(FILES / "solver_old.prototxt")
    assert proto.format(solver) == (FILES / "solver_old_upgraded.prototxt").read_text()


def test_what_needs_an_upgrade():
    for name in ("v0", "v1"):
        assert proto.net_needs_upgrade(proto.files.read_text(FILES / f"{name}.prototxt", proto.NetParameter)[0])
        assert not proto.net_needs_upgrade(proto.read_net(FILES / f"{name}.prototxt"))
    assert proto.net_needs_upgrade(net("input: 'a'"))
    assert proto.net_needs_upgrade(net("layer { type: 'BatchNorm' param {} param {} param {} }"))
    assert not proto.net_needs_upgrade(net("layer { type: 'BatchNorm' param {} }"))
    assert proto.solver_needs_upgrade(proto.SolverParameter(solver_type=0))
    assert proto.solver_needs_upgrade(proto.SolverParameter(net_param=net("input: 'a'")))
    assert not proto.solver_needs_upgrade(proto.SolverParameter(type="SGD"))


# Caffe's registered types, beside the V1 names that its documentation gives them.
V1_TYPES = """ABSVAL AbsVal, ACCURACY Accuracy, ARGMAX ArgMax, BNLL BNLL, CONCAT Concat,
CONTRASTIVE_LOSS ContrastiveLoss, CONVOLUTION Convolution, DATA Data, DECONVOLUTION Deconvolution,
DROPOUT Dropout, DUMMY_DATA DummyData, EUCLIDEAN_LOSS EuclideanLoss, ELTWISE Eltwise, EXP Exp,
FLATTEN Flatten, HDF5_DATA HDF5Data, HDF5_OUTPUT HDF5Output, HINGE_LOSS HingeLoss, IM2COL Im2col,
IMAGE_DATA ImageData, INFOGAIN_LOSS InfogainLoss, INNER_PRODUCT InnerProduct, LRN LRN,
MEMORY_DATA MemoryData, MULTINOMIAL_LOGISTIC_LOSS MultinomialLogisticLoss, MVN MVN, POOLING Pooling,
POWER Power, RELU ReLU, SIGMOID Sigmoid, SIGMOID_CROSS_ENTROPY_LOSS SigmoidCrossEntropyLoss,
SILENCE Silence, SOFTMAX Softmax, SOFTMAX_LOSS SoftmaxWithLoss, SPLIT Split, SLICE Slice, TANH TanH,
WINDOW_DATA WindowData, THRESHOLD Threshold"""


def test_every_v1_type_has_its_current_name():
    pairs = [pair.split() for pair in V1_TYPES.replace("\n", " ").split(", ")]
    caffes = {name for name, number in proto.V1LayerParameter.LayerType.items() if number < 1000}
    assert {old for old, _ in pairs} | {"NONE"} == caffes
    for old, new in pairs:
        assert upgraded(f"layers {{ type: {old} }}").layer[0].type == new
    assert upgraded("layers { type: NONE }").layer[0].type == ""
    assert not upgraded("layers { name: 'a' }").layer[0].HasField("type")


def test_v1_parameters_of_blobs():
    result = upgraded("""layers { name: 'a' type: RELU bottom: 'x' top: 'y' loss_weight: 2
        param: 'w' param: '' blob_share_mode: PERMISSIVE blobs_lr: 1 blobs_lr: 2 blobs_lr: 3 weight_decay: 0
        include { phase: TRAIN } exclude { stage: 's' } relu_param { negative_slope: 0.5 }
        blobs { num: 1 data: 3 } } force_backward: true""")
    assert result == net("""force_backward: true layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' loss_weight: 2
        param { name: 'w' share_mode: PERMISSIVE lr_mult: 1 decay_mult: 0 } param { name: '' lr_mult: 2 }
        param { lr_mult: 3 } include { phase: TRAIN } exclude { stage: 's' }
        relu_param { negative_slope: 0.5 } blobs { num: 1 data: 3 } }""")


def test_every_parameter_message_of_a_v1_layer_goes_over():
    fields = [f for f in proto.V1LayerParameter.DESCRIPTOR.fields if f.name.endswith("_param")]
    assert len(fields) == 30
    old = proto.NetParameter()
    layer = old.layers.add(type=0)
    for field in fields:
        getattr(layer, field.name).SetInParent()
    new = proto.upgrade_net(old).layer[0]
    assert {f.name for f, _ in new.ListFields()} == {f.name for f in fields} | {"type"}


@pytest.mark.parametrize(
    ("kind", "field"),
    [("DATA", "data_param"), ("IMAGE_DATA", "image_data_param"), ("WINDOW_DATA", "window_data_param")],
)
def test_old_transform_fields_move(kind, field):
    result = upgraded(
        f"""layers {{ type: {kind}
            {field} {{ source: 's' scale: 0.5 mean_file: 'm' crop_size: 7 mirror: true batch_size: 3 }} }}
        layers {{ type: {kind} {field} {{ source: 't' }} }} layers {{ type: RELU }}"""
    )
    name = upgraded(f"layers {{ type: {kind} }}").layer[0].type
    # As in Caffe, every data layer of such a net gets a transform_param, were it an empty one.
    assert result == net(
        f"""layer {{ type: '{name}' {field} {{ source: 's' batch_size: 3 }}
            transform_param {{ scale: 0.5 mean_file: 'm' crop_size: 7 mirror: true }} }}
        layer {{ type: '{name}' {field} {{ source: 't' }} transform_param {{ }} }} layer {{ type: 'ReLU' }}"""
    )


def test_data_layers_without_old_transform_fields_stay():
    assert upgraded("layers { type: DATA }") == net("layer { type: 'Data' }")
    current = "layer { type: 'Data' data_param { scale: 2 } }"
    assert upgraded(current) == net(current)


@pytest.mark.parametrize("kind", ["data_param", "image_data_param", "window_data_param"])
def test_old_transform_fields_of_a_current_layer_are_told_to_have_no_effect(kind, tmp_path, caplog):
    path = tmp_path / "x.prototxt"
    path.write_text(f"layer {{ name: 'd' transform_param {{ mirror: false }}\n  {kind} {{ mirror: true }} }}")
    (layer,) = proto.read_net(path).layer
    assert (layer.transform_param.mirror, getattr(layer, kind).mirror) == (False, True)
    assert [record.getMessage() for record in caplog.records] == [
        f'{path}:2:{6 + len(kind)}: layer "d": {kind}.mirror has no effect, as in Caffe; '
        "write transform_param { mirror: ... }"
    ]


def test_the_scale_of_window_data_has_its_effect(tmp_path, caplog):
    path = tmp_path / "x.prototxt"
    path.write_text("layer { name: 'd' window_data_param { scale: 0.5 } }")
    proto.read_net(path)
    assert not caplog.records


def test_v0_layers_with_all_their_fields():
    result = upgraded("""name: 'n' force_backward: true debug_info: true
      input: 'x' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4
      layers { layer { name: 'c' type: 'conv' num_output: 2 biasterm: false weight_filler { type: 'xavier' }
        bias_filler { value: 1 } pad: 3 kernelsize: 5 group: 2 stride: 4 blobs_lr: 1 weight_decay: 0
        blobs { num: 1 } } bottom: 'x' top: 'c' }
      layers { layer { name: 'i' type: 'innerproduct' num_output: 2 biasterm: true weight_filler { std: 1 }
        bias_filler { value: 1 } } bottom: 'c' top: 'i' }
      layers { layer { name: 'p' type: 'pool' pool: AVE pad: 1 kernelsize: 3 stride: 2 } bottom: 'c' top: 'p' }
      layers { layer { name: 'l' type: 'lrn' local_size: 3 alpha: 2 beta: 0.5 k: 4 } bottom: 'c' top: 'l' }
      layers { layer { name: 'd' type: 'dropout' dropout_ratio: 0.25 } bottom: 'c' top: 'd' }
      layers { layer { name: 'k' type: 'concat' concat_dim: 0 } bottom: 'c' bottom: 'd' top: 'k' }
      layers { layer { name: 'da' type: 'data' source: 's' scale: 2 meanfile: 'm' batchsize: 4 cropsize: 5
        mirror: true rand_skip: 6 } top: 'da' }
      layers { layer { name: 'im' type: 'images' source: 's' batchsize: 4 rand_skip: 6 shuffle_images: true
        new_height: 7 new_width: 8 } top: 'im' }
      layers { layer { name: 'w' type: 'window_data' source: 's' batchsize: 4 det_fg_threshold: 0.1
        det_bg_threshold: 0.2 det_fg_fraction: 0.3 det_context_pad: 4 det_crop_mode: 'square' } top: 'w' }
      layers { layer { name: 'h' type: 'hdf5_data' source: 's' batchsize: 4 } top: 'h' }
      layers { layer { name: 'o' type: 'hdf5_output' hdf5_output_param { file_name: 'f' } } bottom: 'c' }
      layers { layer { name: 'g' type: 'infogain_loss' source: 's' } bottom: 'c' }""")
    wanted = net("""name: 'n' force_backward: true
      layer { name: 'input' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } } }
      layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' param { lr_mult: 1 decay_mult: 0 }
        blobs { num: 1 } convolution_param { num_output: 2 bias_term: false weight_filler { type: 'xavier' }
        bias_filler { value: 1 } pad: 3 kernel_size: 5 group: 2 stride: 4 } }
      layer { name: 'i' type: 'InnerProduct' bottom: 'c' top: 'i' inner_product_param { num_output: 2
        bias_term: true weight_filler { std: 1 } bias_filler { value: 1 } } }
      layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { pool: AVE pad: 1 kernel_size: 3
        stride: 2 } }
      layer { name: 'l' type: 'LRN' bottom: 'c' top: 'l' lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 4 } }
      layer { name: 'd' type: 'Dropout' bottom: 'c' top: 'd' dropout_param { dropout_ratio: 0.25 } }
      layer { name: 'k' type: 'Concat' bottom: 'c' bottom: 'd' top: 'k' concat_param { concat_dim: 0 } }
      layer { name: 'da' type: 'Data' top: 'da' data_param { source: 's' batch_size: 4 rand_skip: 6 }
        transform_param { scale: 2 mean_file: 'm' crop_size: 5 mirror: true } }
      layer { name: 'im' type: 'ImageData' top: 'im' image_data_param { source: 's' batch_size: 4 rand_skip: 6
        shuffle: true new_height: 7 new_width: 8 } }
      layer { name: 'w' type: 'WindowData' top: 'w' window_data_param { source: 's' batch_size: 4
        fg_threshold: 0.1 bg_threshold: 0.2 fg_fraction: 0.3 context_pad: 4 crop_mode: 'square' } }
      layer { name: 'h' type: 'HDF5Data' top: 'h' hdf5_data_param { source: 's' batch_size: 4 } }
      layer { name: 'o' type: 'HDF5Output' bottom: 'c' hdf5_output_param { file_name: 'f' } }
      layer { name: 'g' type: 'InfogainLoss' bottom: 'c' infogain_loss_param { source: 's' } }""")
    assert proto.format(result) == proto.format(wanted)


def test_v0_padding_goes_into_the_layers_that_read_it():
    result = upgraded("""input: 'x' layers { layer { name: 'pad' type: 'padding' pad: 2 } bottom: 'x' top: 'y' }
      layers { layer { name: 'a' type: 'conv' } bottom: 'y' top: 'a' }
      layers { layer { name: 'b' type: 'pool' pad: 1 } bottom: 'y' top: 'b' }
      layers { layer { name: 'c' type: 'conv' } bottom: 'a' top: 'c' }""")
    assert [(layer.name, list(layer.bottom)) for layer in result.layer] == [("a", ["x"]), ("b", ["x"]), ("c", ["a"])]
    assert list(result.layer[0].convolution_param.pad) == [2]
    assert result.layer[1].pooling_param.pad == 2
    assert not result.layer[2].HasField("convolution_param")


REFUSED = [
    ("layers { name: 'a' }\nlayer { name: 'b' }", 'x.prototxt:1:1: the net has both "layer" and "layers"'),
    (
        "input: 'x'\nlayers { layer { name: 'a' type: 'convo' } }",
        'x.prototxt:2:28: unknown V0 layer type "convo" in layer "a". Did you mean "conv"?',
    ),
    ("layers { layer { name: 'a' type: 'relu' } bottom: 'z' }", 'x.prototxt:1:43: layer "a": unknown bottom "z"'),
    (
        """input: 'x' layers { layer { name: 'p' type: 'padding' pad: 1 } bottom: 'x' top: 'y' }
layers { layer { name: 'r' type: 'relu' } bottom: 'y' top: 'r' }""",
        'x.prototxt:2:43: layer "r" (relu) cannot take the padding layer "p"',
    ),
    ("input: 'a' input: 'b'\ninput_dim: [1, 2, 3, 4]", "x.prototxt:2:1: the net has 2 input and 4 input_dim"),
    ("input: 'a' input: 'b'\ninput_shape { dim: 1 }", "x.prototxt:2:1: the net has 2 input and 1 input_shape"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_caffe_refuses(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("x.prototxt").write_text(text)
    with pytest.raises(PrototxtError) as caught:
        proto.read_net("x.prototxt")
    assert message in str(caught.value)
    with pytest.raises(PrototxtError, match=r"^x\.prototxt: "):
        upgraded(text)


def test_a_v0_field_that_its_type_lacks_is_left_out_with_a_word(caplog):
    result = upgraded("input: 'x' layers { layer { name: 'r' type: 'relu' stride: 2 } bottom: 'x' }")
    assert result == net("layer { name: 'r' type: 'ReLU' bottom: 'x' }")
    assert 'layer "r": a V0 layer of type "relu" has no "stride"' in caplog.text


def test_inputs_become_the_first_layer():
    result = upgraded("""input: 'a' input: 'b' layer { name: 'r' bottom: 'a' }
        input_shape { dim: 2 dim: 3 } input_shape { dim: 4 }""")
    assert result == net("""layer { name: 'input' type: 'Input' top: 'a' top: 'b'
        input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } } } layer { name: 'r' bottom: 'a' }""")
    both = upgraded("input: 'a' input_shape { dim: 2 } input_dim: [1, 2, 3, 4]")
    assert both == net("layer { name: 'input' type: 'Input' top: 'a' input_param { shape { dim: 2 } } }")


def test_an_input_without_a_shape_just_goes():
    assert upgraded("input: 'a' layer { name: 'r' }") == net("layer { name: 'r' }")


def test_three_params_of_a_batch_norm_go():
    result = upgraded("layer { type: 'BatchNorm' param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }")
    assert result == net("layer { type: 'BatchNorm' }")
    kept = "layer { type: 'BatchNorm' param { lr_mult: 0 } } layer { type: 'X' param {} param {} param {} }"
    assert upgraded(kept) == net(kept)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_solver_types(old, new):
    solver = proto.SolverParameter(solver_type=old)
    assert proto.format(proto.upgrade_solver(solver)) == f'type: "{new}"\n'


def test_a_solver_with_both_kinds_of_type(tmp_path):
    path = tmp_path / "s.prototxt"
    path.write_text("type: 'SGD'\nsolver_type: ADAM")
    with pytest.raises(PrototxtError, match='has both "solver_type" and "type"') as caught:
        proto.read_solver(path)
    assert caught.value.where == f"{path}:2:1"


def test_nets_inside_a_solver_are_brought_up_too():
    old = "layers { name: 'a' type: RELU }"
    solver = proto.SolverParameter(net_param=net(old), train_net_param=net(old), test_net_param=[net(old)])
    proto.upgrade_solver(solver)
    for result in (solver.net_param, solver.train_net_param, solver.test_net_param[0]):
        assert result == net("layer { name: 'a' type: 'ReLU' }")
