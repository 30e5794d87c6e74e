"""What each option means, in the same words for `dlrecon run --help` and for the panel's tooltips."""

# The names are those of pipeline.Options: command line flag, Python keyword and panel parameter are one.
HELP = {
    "task": "what is wrong with the image, and so what is to be done",
    "model": "id of a model, path of a card.json, or auto: the best known for the task and the modality",
    "modality": "auto, MR, CT, US, PT, ...: what kind of image it is; auto reads the header, else looks at the values",
    "strength": "0 (nothing) to 1 (full): how much of what the model takes for noise is removed, or of the detail it "
    "finds is added to the interpolated image",
    "device": "auto, cpu, cuda, cuda:N or mps: what computes",
    "tile": "voxels worked on at once, multiples of 8; smaller needs less memory, and the result is the same",
    "dtype": "type of the output's values: float32, or input for that of the input, rounded and clipped",
    "precision": "auto, float32 or bfloat16: of the network's arithmetic",
    "judge": "measure noise and sharpness before and after, and judge how far to trust the result",
    "uncertainty": "also estimate where the result may be wrong (takes several times as long)",
    "scale": "super-resolution: times finer along every axis, 1 to 4 (default: as fine as along the finest axis)",
    "spacing": "super-resolution: voxel spacing of the result in millimetres, down to a quarter of the input's",
    "thickness": "super-resolution: slice thickness in millimetres where it is not the spacing (gap or overlap)",
    "consistent": "guarantee that the result, made coarse again, is the input",
    "artifact": "artifact-reduction: what is to be removed; auto looks what there is, and does nothing where it finds "
    "none",
    "budget": "seconds that a model may take which learns from the image itself",
    "steps": "of learning from the image itself, whatever the budget says: the same steps give the same answer; 0: as "
    "many as the budget allows",
    "adapt": "denoise: let a trained model first go on learning from the image alone; kept only if the error to expect "
    "falls",
    "feather": "width of the soft edge inside the mask in millimetres; 0 is a hard edge",
}
