"""How others call the weights of DINOv2, MAE and the image tower of CLIP: what to replace in a name of ours, in order.

Names are those of github.com/facebookresearch/mae and dinov2, github.com/openai/CLIP, timm and transformers.
"""

PLAIN = {  # the authors' of MAE and DINOv2, and timm
    r"^positions\.table": "pos_embed",
    r"^positions$": "pos_embed",
    r"^decoder_positions": "decoder_pos_embed",
    r"^decoder_head": "decoder_pred",
    r"^decoder\.": "decoder_",
    r"^encoder\.": "",
    r"\.attention\.[qkv]_proj": ".attn.qkv",
    r"\.attention\.out_proj": ".attn.proj",
    r"\.scale([12])": r".ls\1.gamma",
}
TIMM = PLAIN | {r"^registers": "reg_token"}
META = PLAIN | {r"^registers": "register_tokens"}
OPENAI = {
    r"^cls_token": "class_embedding",
    r"^positions\.table": "positional_embedding",
    r"^patch_embed\.proj": "conv1",
    r"^norm_pre": "ln_pre",
    r"^head\.weight": "proj.T",
    r"^encoder\.norm": "ln_post",
    r"^encoder\.blocks": "transformer.resblocks",
    r"\.norm": ".ln_",
    r"\.attention\.[qkv]_proj\.": ".attn.in_proj_",
    r"\.attention\.out_proj": ".attn.out_proj",
    r"\.mlp\.fc1": ".mlp.c_fc",
    r"\.mlp\.fc2": ".mlp.c_proj",
}
HF_CLIP = {
    r"^cls_token": "vision_model.embeddings.class_embedding",
    r"^positions\.table": "vision_model.embeddings.position_embedding.weight",
    r"^patch_embed\.proj": "vision_model.embeddings.patch_embedding",
    r"^norm_pre": "vision_model.pre_layrnorm",  # so it is written there
    r"^head": "visual_projection",
    r"^encoder\.norm": "vision_model.post_layernorm",
    r"^encoder\.blocks": "vision_model.encoder.layers",
    r"\.norm": ".layer_norm",
    r"\.attention": ".self_attn",
}
HF_DINOV2_MODEL = {  # as transformers 5 has them in memory
    r"^positions\.table": "embeddings.position_embeddings",
    r"^registers": "embeddings.register_tokens",
    r"^cls_token": "embeddings.cls_token",
    r"^patch_embed\.proj": "embeddings.patch_embeddings.projection",
    r"^encoder\.norm": "layernorm",
    r"^encoder\.blocks": "encoder.layer",
    r"\.attention\.out_proj": ".attention.o_proj",
    r"\.scale([12])": r".layer_scale\1.lambda1",
}
HF_DINOV2 = HF_DINOV2_MODEL | {  # as transformers 4 did, and files do
    r"\.attention\.q_proj": ".attention.attention.query",
    r"\.attention\.k_proj": ".attention.attention.key",
    r"\.attention\.v_proj": ".attention.attention.value",
    r"\.attention\.out_proj": ".attention.output.dense",
}
