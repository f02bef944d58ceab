"""Media of prompts: the registry of processors, what processors are made of, and how rows come into embeddings."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

_OWN = "weft.models.vllm.multimodal"
_MM = "vllm.multimodal"
_UTILS = "vllm.model_executor.models.utils"
_PROCESSING = (f"{_MM}.processing", f"{_MM}.processing.processor")
_INFO = (*_PROCESSING, f"{_MM}.processing.context", f"{_MM}.processing.info")
_DUMMY = (f"{_MM}.processing", f"{_MM}.processing.dummy_inputs", f"{_MM}.profiling")
_PARSE = (f"{_MM}.parse", f"{_MM}.processing")
_INPUTS = (_MM, f"{_MM}.inputs", f"{_MM}.processing", "vllm.inputs", "vllm.inputs.data")

MEDIA = (
    Row(f"{_OWN}.registry", "MULTIMODAL_REGISTRY MultiModalRegistry", _MM, f"{_MM}.registry"),
    Row(f"{_OWN}.registry", "INPUT_REGISTRY InputRegistry", "vllm.inputs", "vllm.inputs.registry"),
    Row(f"{_OWN}.fields", "BatchedField MultiModalBatchedField=BatchedField FlatField "
        "MultiModalFlatField=FlatField SharedField MultiModalSharedField=SharedField MultiModalFieldConfig "
        "MultiModalFieldElem MultiModalKwargsItem MultiModalKwargsItems MultiModalKwargs=MultiModalKwargsItems "
        "MultiModalFeatureSpec NestedTensors BatchedTensorInputs=NestedTensors PlaceholderRange", *_INPUTS),
    Row(f"{_OWN}.fields", "MultiModalEmbeddings", "vllm.model_executor.models.interfaces", _UTILS),
    Row(f"{_OWN}.data", "ModalityData MultiModalDataDict ImageItem AudioItem VideoItem HfImageItem HfAudioItem "
        "HfVideoItem", *_INPUTS, f"{_MM}.parse"),
    Row(f"{_OWN}.data", "ImageSize ModalityDataItems ModalityDataParser ProcessorBatchItems EmbeddingItems "
        "DictEmbeddingItems ImageProcessorItems ImageEmbeddingItems AudioProcessorItems AudioEmbeddingItems "
        "VideoProcessorItems VideoEmbeddingItems MultiModalDataItems MultiModalDataParser", *_PARSE),
    Row(f"{_OWN}.updates", "PromptUpdate PromptReplacement PromptInsertion PromptUpdateDetails PromptIndexTargets "
        "PromptIndex PlaceholderFeaturesInfo PromptSeq PromptTarget PromptUpdateContent PromptUpdateInfo "
        "PromptUpdateTarget ResolvedPromptUpdate=ResolvedUpdate", *_PROCESSING),
    Row(f"{_OWN}.processing", "BaseMultiModalProcessor", *_PROCESSING),
    Row(f"{_OWN}.processing", "MultiModalInputs", *_INPUTS),
    Row(f"{_OWN}.info", "BaseProcessingInfo InputProcessingContext", *_INFO),
    Row(f"{_OWN}.info", "InputProcessingContext InputContext=InputProcessingContext", "vllm.inputs",
        "vllm.inputs.registry"),
    Row(f"{_OWN}.info", "ProcessorInputs BaseDummyInputsBuilder", *_DUMMY, f"{_MM}.processing.inputs"),
    Row(f"{_OWN}.info", "BaseDummyOptions ImageDummyOptions AudioDummyOptions=BaseDummyOptions "
        "VideoDummyOptions=BaseDummyOptions", "vllm.config", "vllm.config.multimodal"),
    Row("weft.models.vllm.config_views", "MultiModalConfig", "vllm.config", "vllm.config.multimodal"),
    Row(f"{_OWN}.info", "cached_tokenizer_from_config", "vllm.transformers_utils.tokenizer", "vllm.tokenizers",
        "vllm.tokenizers.registry"),
    Row(f"{_OWN}.info", "cached_processor_from_config", "vllm.transformers_utils.processor"),
    Row(f"{_OWN}.info", "TokenizeParams", "vllm.renderers"),
    Row("weft.models.vllm.conv", "Conv2dLayer Conv3dLayer", "vllm.model_executor.layers.conv"),
    Row("weft.models.vllm.helpers", "get_layer_index", _UTILS),
    Row(f"{_OWN}.schema", "TensorSchema TensorShape", "vllm.utils.tensor_schema"),
    Row(f"{_OWN}.merging", "flatten_bn merge_multimodal_embeddings "
        "_merge_multimodal_embeddings=merge_multimodal_embeddings_where _flatten_embeddings=flat_embeddings", _UTILS),
)
