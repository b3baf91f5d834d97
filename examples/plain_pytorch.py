"""Self-distils torchvision's ResNet-18 in a plain PyTorch loop, on CIFAR-100 where it is there, else on drawn shapes.

Run it anywhere, with the number of iterations and of images a step:

    python examples/plain_pytorch.py 200 64
"""

import sys

import torch
import torchvision
from torchvision.transforms import v2

from sdcaffe.data.synthetic import synthetic
from sdcaffe.paper import SelfDistillation

iterations, batch = int(sys.argv[1]), int(sys.argv[2])

try:
    cifar = torchvision.datasets.CIFAR100("data")
    images, labels = torch.from_numpy(cifar.data).permute(0, 3, 1, 2), torch.tensor(cifar.targets)
except RuntimeError:  # it is not there
    images, labels = map(torch.from_numpy, synthetic("train"))

distort = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])
model = torchvision.models.resnet18(num_classes=100)
distilled = SelfDistillation(model, temperature=3.0, lambda_=1.0, mu=5e-4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)

for iteration in range(iterations):
    chosen = torch.randint(len(images), (batch,))
    view_a, view_b = (torch.stack([distort(image) for image in images[chosen]]) for _ in range(2))
    value = distilled.criterion(view_a, view_b, labels[chosen])
    optimizer.zero_grad()
    value.loss.backward()
    optimizer.step()
    if iteration % 20 == 0:
        print(f"iteration {iteration}: cross-entropy {value.cross_entropy:.3f}, KL {value.kl:.4f}, MMD {value.mmd:.4f}")

torch.save(model.state_dict(), "resnet18.pt")  # the model is as it was, and so are the names of its parameters
