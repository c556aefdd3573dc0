"""Where each mistake comes from: public code or text, at a commit that was read, or made up for the course."""

HF_COURSE = "https://github.com/huggingface/diffusion-models-class/blob/8243e35/unit1/01_introduction_to_diffusers.ipynb"
ANNOTATED = "https://github.com/huggingface/blog/blob/088618c7ca45d83b40727329f58dc6652e4e82ae/annotated-diffusion.md"
TEAPEARCE = "https://github.com/TeaPearce/Conditional_Diffusion_MNIST/blob/1248f64634b33e39b5252612e36d89b27c3f3a34/script.py"
DOME272 = "https://github.com/dome272/Diffusion-Models-pytorch/blob/0b859fb9f1d69ed80a2280bea3fd16c21bdd331d/ddpm_conditional.py"
CONTROLNET = "https://github.com/lllyasviel/ControlNet/blob/1e5c75a5cfb45c3fc727a152238045fb51f5660a/tutorial_train.py"
LABML = (
    "https://github.com/labmlai/annotated_deep_learning_paper_implementations/blob/0157f7e76867b193653050f43dca13ac77521737"
    "/labml_nn/diffusion/ddpm/__init__.py"
)
CONTROLNET_AUX = (
    "https://github.com/huggingface/controlnet_aux/blob/01be82e1f7e70035101daff34ede6f4b054bede4/src/controlnet_aux/canny/__init__.py"
)
MET = "met in public code whose address was not kept"
SOURCES = {
    "root_too_many": f"[the formula of q(x_t given x_0) in Hugging Face's course]({HF_COURSE})",
    "product_to_T": f"[the line below that formula]({HF_COURSE}); the code of that course takes its schedule from a library, which is right",
    "betas_of_1000_in_300": f"[The Annotated Diffusion Model, `linear_beta_schedule` with `timesteps = 200`]({ANNOTATED})",
    "noisy_last_step": f"[labml, `p_sample`: variance beta, and noise at every step, the last one too]({LABML})",
    "beta_times_uniform": MET,
    "beta_times_normal": MET,
    "no_roots": "`noise_image` of nico22nguyen/senior-project, diffusion.py: the noise is weighted by 1 - alpha_bar",
    "unit_range": f'[`ToTensor` and nothing after it, "already normalised 0 to 1"]({TEAPEARCE}); it shows its samples as they are, none looks grey',
    "t_over_T": f"[`_ts / self.n_T` in a well-known example for MNIST]({TEAPEARCE}), whose embedding is made of linear layers instead of waves",
    "batch_norm": f"made up; [an example that has BatchNorm]({TEAPEARCE}) switches to eval mode before it samples",
    "transposed_convolution": "[Odena, Dumoulin, Olah 2016](https://distill.pub/2016/deconv-checkerboard/), who show it in other generators",
    "cosines_first": "made up, after an option of diffusers (`flip_sin_to_cos`) that changes no count and no key",
    "below_300": MET,
    "one_coin": f"[`one_epoch`, line 85: `if np.random.random() < 0.1: labels = None`]({DOME272}#L85)",
    "live_scheduler": MET,
    "no_warm_up": "made up; 0.9999 is Ho's decay, for 800,000 steps",
    "noise_at_the_end": f"[labml, `p_sample`]({LABML})",
    "one_turn_too_few": f"[`sample`, line 55: `reversed(range(1, noise_steps))` over tables that begin with beta_1]({DOME272}#L55)",
    "first_step_missing": MET,
    "clipped_late": MET,
    "perfect_denoiser_of_300": f"[The Annotated Diffusion Model]({ANNOTATED})",
    "blackened": "met in papers and repositories about retouching; no one address",
    "one_coin_again": f"[`one_epoch`, line 85]({DOME272}#L85)",
    "two_conventions": f"each alone is right: [`(1+guide_w)*eps1 - guide_w*eps2`]({TEAPEARCE}) and [`lerp(uncond, cond, cfg_scale)`]({DOME272}#L60)",
    "sharpened_density": "[Bradley, Nakkiran 2024](https://arxiv.org/abs/2408.09000) show that it is a common belief, and false",
    "mean_shift_in_few_steps": "[Dhariwal, Nichol 2021](https://arxiv.org/abs/2105.05233), algorithm 1, which is meant for many steps",
    "edges_of_another_size": f"[`detect_resolution=512, image_resolution=512` by default]({CONTROLNET_AUX})",
    "copied_learning_rate": f"[`learning_rate = 1e-5`, right for a copy of Stable Diffusion]({CONTROLNET})",
}
